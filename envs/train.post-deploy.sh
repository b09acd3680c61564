# Written by make lock from envs/train.txt; do not edit.
set -eu
echo "68a2e56fe9d2d46005cbcc6cbc78e450fb11febadc49c6e301f82113a18fa0ff  envs/train.txt" | sha256sum --check --quiet
# DeepSpeed compiles what it needs when it needs it, on the machine that has the GPU.
export DS_BUILD_OPS=0
"$CONDA_PREFIX/bin/python" -m pip install --no-input --no-deps --require-hashes -r envs/train.txt
