// One call at Auth while it is served: who asks, what was asked first, and how to answer.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include <google/protobuf/message_lite.h>

#include "tests/lab/auth_calls.hpp"
#include "tests/lab/auth_service.hpp"
#include "tests/lab/call_error.hpp"
#include "tests/lab/grpc_stream.hpp"

namespace lab {

struct Rpc {
  AuthService& service;
  GrpcStream& stream;
  std::string first;  // message
  std::optional<ClientIdentity> caller;
  bool through_proxy = false;
  std::string peer_ip;
  std::size_t page_limit = 0;  // of ListResources; 0: none
  // Edits the call's record.
  std::function<void(const std::function<void(AuthCall&)>&)> note;
  // The last message: writes it and ends the call with success. Throws when it is to be lost.
  std::function<void(const std::string&)> answer_bytes;
  // Waits until the authorities have rotated, the client has gone or Auth ends; false: one of the
  // last two.
  std::function<bool(std::size_t events_seen)> wait_for_rotation;

  void answer(const google::protobuf::MessageLite& message) const {
    answer_bytes(message.SerializeAsString());
  }
  void send(const google::protobuf::MessageLite& message) const {
    stream.write_message(message.SerializeAsString());
  }
  const ClientIdentity& identity() const {
    if (!caller) deny("access denied");
    return *caller;
  }
};

template <class Message>
Message parsed(const std::string& bytes) {
  Message message;
  if (!message.ParseFromString(bytes)) {
    throw CallError{grpc_code::internal, "grpc: error unmarshalling request"};
  }
  return message;
}

// For the record: what a made certificate is.
void note_certificates(const Rpc& rpc, const Certificates& made);
void note_ask(const Rpc& rpc, const JoinAsk& ask);

// AuthService, BotInstanceService, TrustService and the unary part of JoinService. False: there is
// no such method here, or not in this version.
bool serve_unary(const Rpc& rpc, const std::string& path);
// The streams of the older and the newer JoinService. False as above.
bool serve_join_stream(const Rpc& rpc, const std::string& path);

}  // namespace lab
