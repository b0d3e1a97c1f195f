// What goes wrong inside the addon: an exception that carries the code, sentence and fields of a UnicornError. It is
// turned into one at the border (`addon.cpp` and `src/addon.ts`), never shown as it is.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <utility>
#include <vector>

namespace unicorn {

class Failure : public std::exception {
 public:
  Failure(std::string code, std::string message, std::vector<std::pair<std::string, int64_t>> numbers = {},
          std::vector<std::pair<std::string, std::string>> texts = {})
      : code(std::move(code)), message(std::move(message)), numbers(std::move(numbers)), texts(std::move(texts)) {}

  const char* what() const noexcept override { return message.c_str(); }

  std::string code;  // `family/noun`
  std::string message;
  std::vector<std::pair<std::string, int64_t>> numbers;
  std::vector<std::pair<std::string, std::string>> texts;
  std::string fix;  // what the user can do, or empty

  Failure withFix(std::string sentence) && {
    fix = std::move(sentence);
    return std::move(*this);
  }
};

// The caller (our own TypeScript) believed that this could not happen.
inline void require(bool condition, const char* sentence) {
  if (!condition) throw Failure("internal/invariant", sentence);
}

}  // namespace unicorn
