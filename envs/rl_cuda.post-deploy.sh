# Written by make lock from envs/rl_cuda.txt; do not edit.
set -eu
echo "57c85e0ee27d593414c1bd0e232462b63ca6a7c8373688550cda5c39dd09b5c0  envs/rl_cuda.txt" | sha256sum --check --quiet
# DeepSpeed compiles what it needs when it needs it, on the machine that has the GPU.
export DS_BUILD_OPS=0
"$CONDA_PREFIX/bin/python" -m pip install --no-input --no-deps --require-hashes -r envs/rl_cuda.txt
