# Written by make lock from envs/driver.txt; do not edit.
set -eu
echo "074751a473cb40642ea0d23ed228fbadbae214cc8df4068227687e1f16b2ade9  envs/driver.txt" | sha256sum --check --quiet
# DeepSpeed compiles what it needs when it needs it, on the machine that has the GPU.
export DS_BUILD_OPS=0
"$CONDA_PREFIX/bin/python" -m pip install --no-input --no-deps --require-hashes -r envs/driver.txt
