# Written by make lock from envs/comet.txt; do not edit.
set -eu
echo "2c6dd60d5a6efacd5759ccafa6046105d1b6a2100524953a693da0927d6d081b  envs/comet.txt" | sha256sum --check --quiet
# DeepSpeed compiles what it needs when it needs it, on the machine that has the GPU.
export DS_BUILD_OPS=0
"$CONDA_PREFIX/bin/python" -m pip install --no-input --no-deps --require-hashes -r envs/comet.txt
