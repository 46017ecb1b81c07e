#include "proxy/teleport/keypair_join.hpp"

namespace kubelane::teleport {
namespace {

using Kind = AuthError::Kind;
using std::chrono::milliseconds;

constexpr milliseconds step_limit{40'000};
constexpr milliseconds farewell_limit{2'000};
// Greeting, two challenges, a rotation and the result are five.
constexpr int most_answers = 8;

// One of the two streams, as what it takes and gives.
struct Dialect {
  const char* path;
  const char* what;
  std::string (*signature)(const std::string&);
  std::string (*new_key)(const std::string&);
  std::optional<JoinAnswer> (*parse)(std::string_view);
};
constexpr Dialect older{bound_keypair_path, "joining as a bot by its key", bound_keypair_signature,
                        bound_keypair_new_key, parse_bound_keypair};
constexpr Dialect join_v1{join_v1_path, "joining as a bot by its key (teleport.join.v1)",
                          join_v1_signature, join_v1_new_key, parse_join_v1};

class Conversation {
 public:
  Conversation(const GrpcChannel::Ptr& channel, KeypairStream which, const JoinRequest& request,
               KeypairHolder& holder)
      : dialect_(which == KeypairStream::older ? older : join_v1),
        stream_(channel->open(dialect_.path)),
        request_(request),
        holder_(holder) {}

  boost::asio::awaitable<AuthResult<JoinGrant>> run() {
    const bool greets = dialect_.path == join_v1_path;
    stream_->send(greets ? join_v1_hello(request_.token)
                         : bound_keypair_init(request_, holder_.intro()));
    for (int i = 0; i < most_answers; ++i) {
      const std::optional<std::string> bytes = co_await stream_->receive(step_limit);
      if (!bytes) co_return lost();
      std::optional<JoinAnswer> answer = dialect_.parse(*bytes);
      if (!answer) co_return wrong("the answer cannot be read");
      if (auto* grant = std::get_if<JoinGrant>(&*answer)) {
        stream_->half_close();
        co_return std::move(*grant);
      }
      // Whoever asks for more has not decided yet.
      proved_ = false;
      const Outcome<std::string> reply = reply_to(*answer);
      if (!reply) co_return co_await give_up(reply.error());
      stream_->send(*reply);
    }
    co_return wrong("the server asks for ever more");
  }

 private:
  Outcome<std::string> reply_to(const JoinAnswer& answer) {
    if (const auto* challenge = std::get_if<KeyChallenge>(&answer)) {
      Outcome<std::string> jws = holder_.solve(*challenge);
      if (!jws) return jws;
      proved_ = true;
      return dialect_.signature(*jws);
    }
    if (const auto* rotation = std::get_if<KeyRotation>(&answer)) {
      Outcome<std::string> line = holder_.rotate(rotation->suite);
      if (!line) return line;
      return dialect_.new_key(*line);
    }
    if (std::holds_alternative<JoinGreeting>(answer) && !greeted_) {
      greeted_ = true;
      return join_v1_by_keypair(request_, holder_.intro());
    }
    return Failure{Code::denied,
                   "the join token is of another method than bound_keypair, which is what "
                   "onboarding.join_method says"};
  }

  // The server is told where it can be, and given a moment to hear it.
  boost::asio::awaitable<AuthError> give_up(const Failure& why) {
    if (dialect_.path == join_v1_path) {
      stream_->send(join_v1_giving_up(GivingUp::solution));
      stream_->half_close();
      co_await stream_->receive(farewell_limit);
    }
    co_return AuthError{why.code == Code::denied ? Kind::denied : Kind::other,
                        std::string(dialect_.what) + ": " + why.message, false};
  }

  AuthError lost() const {
    AuthError error = to_auth_error(stream_->status(), dialect_.what);
    // Of a limit of the stream's time the Proxy speaks without knowing what Auth has done.
    const bool silent = error.outcome_unknown || error.kind == Kind::busy;
    error.outcome_unknown = proved_ && silent;
    if (proved_ && error.kind == Kind::unimplemented) error.kind = Kind::other;
    return error;
  }

  AuthError wrong(const std::string& why) const {
    return {Kind::other, std::string(dialect_.what) + ": " + why, proved_};
  }

  const Dialect& dialect_;
  std::shared_ptr<GrpcStream> stream_;
  const JoinRequest& request_;
  KeypairHolder& holder_;
  bool greeted_ = false;
  bool proved_ = false;  // the last that we said was a signature
};

}  // namespace

boost::asio::awaitable<AuthResult<JoinGrant>> join_by_keypair(const GrpcChannel::Ptr& channel,
                                                              KeypairStream which,
                                                              const JoinRequest& request,
                                                              KeypairHolder& holder) {
  Conversation conversation(channel, which, request, holder);
  co_return co_await conversation.run();
}

}  // namespace kubelane::teleport
