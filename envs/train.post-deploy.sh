# Written by make lock from envs/train.txt; do not edit.
set -eu
echo "78de66743f207da558cd2c39db562d4c9fc0a0fec384aa8e271059a867e1f456  envs/train.txt" | sha256sum --check --quiet
# DeepSpeed compiles what it needs when it needs it, on the machine that has the GPU.
export DS_BUILD_OPS=0
"$CONDA_PREFIX/bin/python" -m pip install --no-input --no-deps --require-hashes -r envs/train.txt
