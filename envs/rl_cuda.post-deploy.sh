# Written by make lock from envs/rl_cuda.txt; do not edit.
set -eu
echo "df201a29fb46952e2c8d239ea6a5e082bbbae7a8b8e828fe8275163c38151c25  envs/rl_cuda.txt" | sha256sum --check --quiet
# DeepSpeed compiles what it needs when it needs it, on the machine that has the GPU.
export DS_BUILD_OPS=0
"$CONDA_PREFIX/bin/python" -m pip install --no-input --no-deps --require-hashes -r envs/rl_cuda.txt
