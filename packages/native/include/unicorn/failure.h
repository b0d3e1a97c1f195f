// What goes wrong inside an addon: an exception that carries the code, sentence and fields of a UnicornError. It leaves
// the addon as JSON (`failureJson`) and becomes a UnicornError in JavaScript (`nativeFailure` of @unicorn-exec/native).
// Knows nothing of Node.
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

  std::string code;     // `family/noun`, as docs/errors.md lists them
  std::string message;  // a sentence that says what was wrong
  // Fields of the error, by name.
  std::vector<std::pair<std::string, int64_t>> numbers;
  std::vector<std::pair<std::string, std::string>> texts;
  std::string fix;  // what the user can do, or empty

  // The same failure with a fix: `throw Failure(...).withFix("...")`.
  Failure withFix(std::string sentence) && {
    fix = std::move(sentence);
    return std::move(*this);
  }
};

// States a condition that holds whatever users do: where it fails, our own TypeScript or this code is wrong.
// Throws Failure internal/invariant with the sentence, which says how it should have been.
inline void require(bool condition, const char* sentence) {
  if (!condition) throw Failure("internal/invariant", sentence);
}

// The exception that is being handled, as a Failure. Only for the body of a catch block. A std::bad_alloc becomes
// resource/memory, a std::out_of_range (of `at`) internal/invariant, anything else internal/native.
Failure currentFailure();

// {"code", "message", "fields", "fix"?} as JSON.
std::string failureJson(const Failure& failure);

}  // namespace unicorn
