#!/bin/sh
# Chromium for tests/browser, from the distribution; where that is not possible the tests say so and are skipped.
set -u
if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null && exit 0
fi
echo "No Chromium, and none could be installed (needs root and apt: chromium, chromium-driver):" \
    "the tests of the report in a browser will be skipped."
