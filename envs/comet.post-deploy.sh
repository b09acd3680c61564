# Written by make lock from envs/comet.txt; do not edit.
set -eu
echo "67ac864a82f53172d2a00f17c440d38cfdaee734696c15b8d69b4ab1db3e8f03  envs/comet.txt" | sha256sum --check --quiet
# DeepSpeed compiles what it needs when it needs it, on the machine that has the GPU.
export DS_BUILD_OPS=0
"$CONDA_PREFIX/bin/python" -m pip install --no-input --no-deps --require-hashes -r envs/comet.txt
