# Written by make lock from envs/train.txt; do not edit.
set -eu
echo "e79e699623998ca417525ab52b4b6ee4e4a355e7724dd18638871c86be8aaf7b  envs/train.txt" | sha256sum --check --quiet
# DeepSpeed compiles what it needs when it needs it, on the machine that has the GPU.
export DS_BUILD_OPS=0
"$CONDA_PREFIX/bin/python" -m pip install --no-input --no-deps --require-hashes -r envs/train.txt
