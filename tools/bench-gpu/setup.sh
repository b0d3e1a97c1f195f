# Sourced on the target machine, from the folder that holds `.kit`: unpacks the kit to /tmp/unicorn-kit, once, and makes
# `node`, `unicorn` and the Vulkan loader usable in this shell. Needs root, dpkg, tar and xz.
kit=$PWD/.kit
target=/tmp/unicorn-kit
if [ ! -e $target/ready ]; then
  mkdir -p $target
  for part in "$kit"/*.tar.xz; do tar -C $target -xf "$part"; done
  # The driver's own libraries look for these by name in the system's folders.
  if ! ldconfig -p | grep -q 'libvulkan\.so\.1'; then
    for package in "$kit"/loader/*.deb; do dpkg -x "$package" /; done
    ldconfig
  fi
  printf '#!/bin/sh\nexec %s/bin/node %s/node_modules/@unicorn-exec/cli/bin/unicorn.js "$@"\n' $target $target >$target/bin/unicorn
  chmod +x $target/bin/unicorn
  touch $target/ready
fi
export PATH=$target/bin:$PATH
driver=/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json
[ -e "$driver" ] && export VK_DRIVER_FILES=$driver
bench=$target/bench-gpu
