# Written by make lock from envs/comet.txt; do not edit.
set -eu
echo "baeafafb48ecd55f016816574565c95168512cf6d9d8f6a1c7d2e3f082344d1f  envs/comet.txt" | sha256sum --check --quiet
# DeepSpeed compiles what it needs when it needs it, on the machine that has the GPU.
export DS_BUILD_OPS=0
"$CONDA_PREFIX/bin/python" -m pip install --no-input --no-deps --require-hashes -r envs/comet.txt
