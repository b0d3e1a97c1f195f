#include "unicorn/failure.h"

#include <cstdio>
#include <new>
#include <stdexcept>

namespace unicorn {
namespace {

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(c));
      out += code;
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace

Failure currentFailure() {
  try {
    throw;
  } catch (const Failure& failure) {
    return failure;
  } catch (const std::bad_alloc&) {
    return Failure("resource/memory", "There was not enough memory.");
  } catch (const std::out_of_range& error) {
    return Failure("internal/invariant", error.what());
  } catch (const std::exception& error) {
    return Failure("internal/native", error.what());
  } catch (...) {
    return Failure("internal/native", "Something was thrown that is not an exception.");
  }
}

std::string failureJson(const Failure& failure) {
  std::string fields;
  for (const auto& [name, value] : failure.texts) {
    fields += (fields.empty() ? "" : ",") + quoted(name) + ":" + quoted(value);
  }
  for (const auto& [name, value] : failure.numbers) {
    fields += (fields.empty() ? "" : ",") + quoted(name) + ":" + std::to_string(value);
  }
  return "{\"code\":" + quoted(failure.code) + ",\"message\":" + quoted(failure.message) + ",\"fields\":{" + fields +
         "}" + (failure.fix.empty() ? "" : ",\"fix\":" + quoted(failure.fix)) + "}";
}

}  // namespace unicorn
