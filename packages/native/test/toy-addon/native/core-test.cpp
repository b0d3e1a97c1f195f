// What the kit and a device do without Node, for sanitizers that cannot see into it. Exits with 1 at the first mismatch.

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <future>

#include <unicorn/background.h>
#include <unicorn/failure.h>
#include <unicorn/mapped-file.h>

#include "device.h"

namespace {

void check(bool condition, const char* sentence) {
  if (condition) return;
  std::printf("not so: %s\n", sentence);
  std::exit(1);
}

void failures() {
  const auto json = unicorn::failureJson(unicorn::Failure("usage/x", "a \"b\"\\\n", {{"n", -3}}, {{"t", "u"}}));
  check(json == R"({"code":"usage/x","message":"a \"b\"\\\u000a","fields":{"t":"u","n":-3}})", "JSON is escaped");
}

void background() {
  std::atomic<int> stopped{0};
  {
    unicorn::Background background;
    for (int i = 0; i < 4; i++) {
      background.start([&](const std::atomic<bool>& stop) {
        while (!stop) std::this_thread::yield();
        stopped++;
      });
    }
  }
  check(stopped == 4, "every task was told to stop and joined");
}

void device() {
  std::promise<void> told;
  std::atomic<int> ended{0}, failed{0};
  int64_t sums[64] = {};
  {
    toy::Device device({[&](uint32_t job, const unicorn::Failure* failure) {
                          if (failure != nullptr) failed++;
                          ended++;
                          if (job == 0) told.set_value();
                        },
                        nullptr});
    device.add(0, 1, 2, &sums[0]);
    told.get_future().wait();
    for (uint32_t job = 1; job < 64; job++) device.add(job, job, job, &sums[job]);
  }
  check(ended == 64, "every job ends, also when the device is closed");
  check(sums[0] == 3, "the sum is right");
}

}  // namespace

int main() {
  failures();
  background();
  device();
  try {
    unicorn::MappedFile::open("/no/such/file");
    check(false, "a missing file is a failure");
  } catch (const unicorn::Failure& failure) {
    check(failure.code == "usage/file", "a missing file is usage/file");
  }
  return 0;
}
