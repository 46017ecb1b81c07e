#include "tests/lab/auth_messages.hpp"
#include "tests/lab/proto/auth.pb.h"
#include "tests/lab/proto/join_v1.pb.h"
#include "tests/lab/public_key.hpp"
#include "tests/lab/rpc.hpp"

namespace lab {
namespace {

namespace v1 = teleport::join::v1;

// The next message of the client; it must come.
template <class Message>
Message next(const Rpc& rpc) {
  const auto bytes = rpc.stream.read_message();
  if (!bytes) throw CallError{grpc_code::invalid_argument, "the client has ended the stream"};
  return parsed<Message>(*bytes);
}

std::optional<ClientIdentity> direct_caller(const Rpc& rpc) {
  return rpc.through_proxy ? std::nullopt : rpc.caller;
}

// ---------------------------------------------------------------- the older stream

void bound_keypair(const Rpc& rpc) {
  using Request = proto::RegisterUsingBoundKeypairMethodRequest;
  using Response = proto::RegisterUsingBoundKeypairMethodResponse;
  const auto first = parsed<Request>(rpc.first);
  if (!first.has_init()) throw CallError{grpc_code::invalid_argument, "expected an init message"};
  const JoinAsk ask = from_message(first.init().join_request());
  note_ask(rpc, ask);
  BoundKeypairClient client;
  client.secret = first.init().initial_join_secret();
  client.join_state = first.init().previous_join_state();
  client.solve = [&](const std::string& public_key, const std::string& text) {
    Response response;
    response.mutable_challenge()->set_public_key(public_key);
    response.mutable_challenge()->set_challenge(text);
    rpc.send(response);
    const auto answer = next<Request>(rpc);
    if (!answer.has_challenge_response()) {
      throw CallError{grpc_code::invalid_argument, "expected a challenge response"};
    }
    return answer.challenge_response().solution();
  };
  client.rotate = [&](Suite suite) {
    Response response;
    response.mutable_rotation()->set_signature_algorithm_suite(to_message(suite));
    rpc.send(response);
    const auto answer = next<Request>(rpc);
    if (!answer.has_rotation_response()) {
      throw CallError{grpc_code::invalid_argument, "expected a rotation response"};
    }
    return answer.rotation_response().public_key();
  };
  const BoundKeypairJoin joined = rpc.service.join_by_keypair(ask, direct_caller(rpc), client);
  note_certificates(rpc, joined.certificates);
  Response response;
  *response.mutable_certs()->mutable_certs() = to_certs(joined.certificates);
  response.mutable_certs()->set_join_state(joined.join_state);
  response.mutable_certs()->set_public_key(joined.public_key);
  rpc.answer(response);
}

// ---------------------------------------------------------------- the newer stream

v1::JoinRequest next_or_giving_up(const Rpc& rpc) {
  auto request = next<v1::JoinRequest>(rpc);
  if (request.has_giving_up()) {
    throw CallError{grpc_code::invalid_argument,
                    "the client gave up on the join attempt: " + request.giving_up().msg()};
  }
  return request;
}

void answer_result(const Rpc& rpc, const Certificates& made, const BoundKeypairJoin* joined) {
  note_certificates(rpc, made);
  v1::JoinResponse response;
  auto& bot = *response.mutable_result()->mutable_bot_result();
  *bot.mutable_certificates() = to_join_v1(made);
  if (joined != nullptr) {
    bot.mutable_bound_keypair_result()->set_join_state(joined->join_state);
    bot.mutable_bound_keypair_result()->set_public_key(joined->public_key);
  }
  rpc.answer(response);
}

void join_by_keypair(const Rpc& rpc, JoinAsk& ask, const v1::BoundKeypairInit& init) {
  take_params(init.client_params(), ask);
  BoundKeypairClient client;
  client.secret = init.initial_join_secret();
  client.join_state = init.previous_join_state();
  const auto solution = [&rpc] {
    const auto request = next_or_giving_up(rpc);
    if (!request.has_solution()) {
      throw CallError{grpc_code::invalid_argument, "expected a challenge solution"};
    }
    return request.solution();
  };
  client.solve = [&](const std::string& public_key, const std::string& text) {
    v1::JoinResponse response;
    auto& challenge = *response.mutable_challenge()->mutable_bound_keypair_challenge();
    challenge.set_public_key(public_key);
    challenge.set_challenge(text);
    rpc.send(response);
    return solution().bound_keypair_challenge_solution().solution();
  };
  client.rotate = [&](Suite suite) {
    v1::JoinResponse response;
    response.mutable_challenge()
        ->mutable_bound_keypair_rotation_request()
        ->set_signature_algorithm_suite(suite_name(suite));
    rpc.send(response);
    return solution().bound_keypair_rotation_response().public_key();
  };
  const BoundKeypairJoin joined = rpc.service.join_by_keypair(ask, direct_caller(rpc), client);
  answer_result(rpc, joined.certificates, &joined);
}

void join_v1(const Rpc& rpc) {
  const auto first = parsed<v1::JoinRequest>(rpc.first);
  if (!first.has_client_init()) {
    throw CallError{grpc_code::invalid_argument, "expected ClientInit message"};
  }
  const auto& hello = first.client_init();
  if (hello.forwarded_by_proxy() || hello.has_proxy_supplied_parameters()) {
    deny("only a proxy may set the parameters of a proxy");
  }
  JoinAsk ask;
  ask.token = hello.token_name();
  ask.role = hello.system_role();
  if (hello.has_join_method()) ask.method = hello.join_method();
  note_ask(rpc, ask);
  const std::string method = rpc.service.method_of(ask.token);
  if (!rpc.service.version().has_join_v1(method)) {
    throw CallError{grpc_code::unimplemented, "join method " + method + " is not implemented"};
  }
  if (ask.method && *ask.method != method) {
    throw CallError{grpc_code::invalid_argument,
                    "requested join method does not match the token's"};
  }
  v1::JoinResponse init;
  init.mutable_init()->set_join_method(method);
  init.mutable_init()->set_signature_algorithm_suite(suite_name(rpc.service.suite()));
  rpc.send(init);

  const auto request = next_or_giving_up(rpc);
  if (method == "bound_keypair" && request.has_bound_keypair_init()) {
    join_by_keypair(rpc, ask, request.bound_keypair_init());
    return;
  }
  if (method == "token" && request.has_token_init()) {
    take_params(request.token_init().client_params(), ask);
  } else if (method != "token" && request.has_oidc_init()) {
    take_params(request.oidc_init().client_params(), ask);
    ask.id_token = request.oidc_init().id_token();
  } else {
    throw CallError{grpc_code::invalid_argument, "the message does not suit the join method"};
  }
  note_ask(rpc, ask);
  const Certificates made = rpc.service.join(ask, direct_caller(rpc));
  answer_result(rpc, made, nullptr);
}

}  // namespace

void note_certificates(const Rpc& rpc, const Certificates& made) {
  if (!made.tls) return;
  const ClientIdentity identity = read_identity(made.tls.get());
  const long now = rpc.service.authorities()->now();
  rpc.note([&](AuthCall& call) {
    call.issued_serial = identity.serial;
    call.ttl_given = std::chrono::seconds(identity.not_after - now);
  });
}

void note_ask(const Rpc& rpc, const JoinAsk& ask) {
  const long now = rpc.service.authorities()->now();
  rpc.note([&](AuthCall& call) {
    call.token = ask.token;
    if (ask.expires) call.ttl_asked = std::chrono::seconds(*ask.expires - now);
  });
}

bool serve_join_stream(const Rpc& rpc, const std::string& path) {
  if (path == "/proto.JoinService/RegisterUsingBoundKeypairMethod") {
    if (!rpc.service.version().has_bound_keypair()) return false;
    bound_keypair(rpc);
    return true;
  }
  if (path == "/teleport.join.v1.JoinService/Join") {
    if (!rpc.service.version().has_join_v1("token")) return false;
    join_v1(rpc);
    return true;
  }
  return false;
}

}  // namespace lab
