# Written by make lock from envs/train.txt; do not edit.
set -eu
echo "5d1ebe01a4da4bff456ee9785907b4923539a1e7d6359aed064534b8cadabaae  envs/train.txt" | sha256sum --check --quiet
# DeepSpeed compiles what it needs when it needs it, on the machine that has the GPU.
export DS_BUILD_OPS=0
"$CONDA_PREFIX/bin/python" -m pip install --no-input --no-deps --require-hashes -r envs/train.txt
