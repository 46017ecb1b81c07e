#include "tests/support/grpc_client.hpp"

#include <cstdlib>
#include <stdexcept>

namespace support {
namespace {

std::string framed(std::string_view message) {
  std::string frame(1, '\0');
  for (int shift = 24; shift >= 0; shift -= 8) {
    frame += static_cast<char>((message.size() >> shift) & 0xff);
  }
  frame += message;
  return frame;
}

// Whole messages only.
std::vector<std::string> unframed(std::string_view body) {
  std::vector<std::string> messages;
  while (body.size() >= 5) {
    std::size_t length = 0;
    for (std::size_t i = 1; i < 5; ++i) {
      length = (length << 8) | static_cast<unsigned char>(body[i]);
    }
    if (body.size() < 5 + length) break;
    messages.emplace_back(body.substr(5, length));
    body.remove_prefix(5 + length);
  }
  return messages;
}

std::string field(const Fields& fields, std::string_view name) {
  for (const auto& [each, value] : fields) {
    if (each == name) return value;
  }
  return "";
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      out +=
          static_cast<char>(std::strtol(std::string(text.substr(i + 1, 2)).c_str(), nullptr, 16));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

GrpcAnswer answer_of(const H2Response& response) {
  GrpcAnswer answer;
  answer.messages = unframed(response.body);
  const Fields& end = response.trailers.empty() ? response.fields : response.trailers;
  const std::string status = field(end, "grpc-status");
  if (!status.empty()) answer.code = std::atoi(status.c_str());
  answer.error = percent_decoded(field(end, "grpc-message"));
  return answer;
}

H2Request request_to(const std::string& path) {
  H2Request request;
  request.method = "POST";
  request.path = path;
  request.fields = {{"content-type", "application/grpc"}, {"te", "trailers"}};
  return request;
}

}  // namespace

GrpcAnswer GrpcClient::call(const std::string& path, std::string_view message, const Fields& more) {
  H2Request request = request_to(path);
  request.fields.insert(request.fields.end(), more.begin(), more.end());
  request.body = framed(message);
  return answer_of(h2_.exchange(request));
}

H2Client::StreamId GrpcClient::open(const std::string& path) {
  H2Request request = request_to(path);
  request.keep_open = true;
  return h2_.send(request);
}

void GrpcClient::send(H2Client::StreamId stream, std::string_view message, bool end) {
  h2_.write(stream, framed(message), end);
}

std::string GrpcClient::message(H2Client::StreamId stream, std::size_t index) const {
  std::vector<std::string> messages;
  const bool came = h2_.wait(stream, [&](const H2Response& response) {
    messages = unframed(response.body);
    return messages.size() > index || response.closed;
  });
  if (!came) throw PatienceOver("a message of the stream");
  if (messages.size() <= index) {
    const GrpcAnswer answer = answer_of(h2_.response(stream));
    throw std::runtime_error("the stream ended by " + std::to_string(answer.code) + ": " +
                             answer.error);
  }
  return messages[index];
}

GrpcAnswer GrpcClient::finish(H2Client::StreamId stream) const {
  return answer_of(h2_.finish(stream));
}

}  // namespace support
