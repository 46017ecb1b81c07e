// HTTP/2 heads on their way through: the checks beyond nghttp2's, and the same rules as in
// head_writer.hpp for what may pass. Sans I/O.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "proxy/http/field.hpp"
#include "proxy/http/h2_session.hpp"
#include "proxy/http/head_writer.hpp"

namespace kubelane::http {

// Null, or why two readers could take this request for different ones (RFC 9113 section 8.3.1):
// method, path, authority, a Host that says something else. `authority`: the one to judge by.
const char* refuse_h2_request(const H2Head& head, std::string_view& authority) noexcept;

// A request for the upstream, with its own copy of every byte: it may have to be sent again.
class H2Request {
 public:
  // Drops and adds what write_request_head() drops and adds. `edits.add` needs lower-case names.
  H2Request(const H2Head& head, const RequestEdits& edits);
  H2Request(const H2Request&) = delete;
  H2Request& operator=(const H2Request&) = delete;

  const H2Head& head() const noexcept { return head_; }

 private:
  std::string bytes_;
  std::vector<Field> fields_;
  H2Head head_;
};

// What of a response may pass; status 204 and 1xx have no length. Slices of `head`.
void edit_h2_response(const H2Head& head, std::vector<Field>& out);

// What of a trailer section may pass, with its own copy of every byte.
class H2Trailers {
 public:
  void set(Fields fields, Direction direction);
  Fields fields() const noexcept { return fields_; }

 private:
  std::string bytes_;
  std::vector<Field> fields_;
};

}  // namespace kubelane::http
