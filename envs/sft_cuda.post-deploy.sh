# Written by make lock from envs/sft_cuda.txt; do not edit.
set -eu
echo "5c96946c0981f14ae6d5382f512537e92cc3c247ee09dd0f25061afdca7332ea  envs/sft_cuda.txt" | sha256sum --check --quiet
# DeepSpeed compiles what it needs when it needs it, on the machine that has the GPU.
export DS_BUILD_OPS=0
"$CONDA_PREFIX/bin/python" -m pip install --no-input --no-deps --require-hashes -r envs/sft_cuda.txt
