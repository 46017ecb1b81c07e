// Clients of kubelane's diagnostics and admin listeners: plain HTTP, by port or by unix socket, to
// the address that the log tells.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include <boost/json.hpp>

#include "tests/support/process.hpp"
#include "tests/support/tls_client.hpp"

namespace support {

class ControlClient {
 public:
  // `listener`: the message of its line in the log, "diagnostics" or "administration".
  ControlClient(const Process& kubelane, const std::string& listener) {
    const auto line = kubelane.wait_for_line("\"message\":\"" + listener + "\"");
    if (!line) throw std::runtime_error("no line about " + listener);
    address_ = boost::json::parse(*line).at("address").as_string().c_str();
    const std::size_t colon = address_.rfind(':');
    host_ = address_.substr(0, colon);
    if (!address_.starts_with("unix:"))
      port_ = static_cast<std::uint16_t>(std::stoul(address_.substr(colon + 1)));
  }

  TlsClient connect() const {
    ClientOptions plain;
    plain.tls = false;
    return {host_, port_, plain};
  }
  static std::string request(const std::string& method, const std::string& path,
                             const std::string& fields = "", const std::string& body = "") {
    return method + " " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\n" + fields +
           (body.empty() ? "" : "Content-Length: " + std::to_string(body.size()) + "\r\n") +
           "\r\n" + body;
  }
  Response send(const std::string& bytes, bool head = false) const {
    TlsClient client = connect();
    client.write(bytes);
    return client.read_response(head);
  }
  Response get(const std::string& path) const { return send(request("GET", path)); }
  boost::json::object json(const std::string& path) const {
    const Response response = get(path);
    boost::json::error_code failed;
    const boost::json::value value = boost::json::parse(response.body, failed);
    if (failed || !value.is_object())
      throw std::runtime_error(path + " is no JSON object: " + response.body);
    return value.as_object();
  }

  const std::string& address() const { return address_; }
  const std::string& host() const { return host_; }
  std::uint16_t port() const { return port_; }

 private:
  std::string address_;
  std::string host_;
  std::uint16_t port_ = 0;
};

}  // namespace support
