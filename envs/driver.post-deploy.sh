# Written by make lock from envs/driver.txt; do not edit.
set -eu
echo "78750a25e121ad9cd4ceef76c7f369ec88535ed20aa561c1f400595cc662fa39  envs/driver.txt" | sha256sum --check --quiet
# DeepSpeed compiles what it needs when it needs it, on the machine that has the GPU.
export DS_BUILD_OPS=0
"$CONDA_PREFIX/bin/python" -m pip install --no-input --no-deps --require-hashes -r envs/driver.txt
