// Handlers' HTTP/1.1 answers come apart the same way however they are written.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/lab/answer_reader.hpp"
#include "tests/lab/http.hpp"

namespace {

// Writes down what came.
class Notes final : public lab::AnswerReader::Sink {
 public:
  std::string text;

  void on_interim(int status, lab::AnswerReader::Fields fields) override {
    text += "interim " + std::to_string(status) + list(fields) + "|";
  }
  void on_head(int status, lab::AnswerReader::Fields fields, bool end) override {
    text += "head " + std::to_string(status) + list(fields) + (end ? " end|" : "|");
  }
  void on_data(std::string_view bytes, bool end) override {
    text += bytes;
    if (end) text += "|end";
  }
  void on_end(lab::AnswerReader::Fields trailers) override { text += "|end" + list(trailers); }

 private:
  static std::string list(const lab::AnswerReader::Fields& fields) {
    std::string all;
    for (const auto& [name, value] : fields) {
      all += ' ';
      all += name;
      all += '=';
      all += value;
    }
    return all;
  }
};

std::string read(const std::string& answer, bool head_request, std::size_t piece) {
  Notes notes;
  lab::AnswerReader reader(notes, head_request);
  for (std::size_t at = 0; at < answer.size(); at += piece) {
    reader.feed(std::string_view(answer).substr(at, piece));
  }
  reader.close();
  return notes.text + (reader.complete() ? "" : "(incomplete)");
}

void expect(const std::string& answer, const std::string& notes, bool head_request = false) {
  for (const std::size_t piece : {std::size_t{1}, std::size_t{3}, answer.size()}) {
    EXPECT_EQ(read(answer, head_request, piece), notes) << answer << " by " << piece;
  }
}

TEST(LabAnswerReader, every_framing_is_understood) {
  expect("HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello",
         "head 200 x-a=b content-length=5|hello|end");
  expect(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
      "3\r\nhel\r\n2\r\nlo\r\n0\r\nX-Sum: 5\r\n\r\n",
      "head 200|hello|end x-sum=5");
  expect("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "head 200||end");
  expect("HTTP/1.1 200 OK\r\n\r\nhello", "head 200|hello|end");
  expect("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "head 200 content-length=0 end|");
  expect("HTTP/1.1 204 No Content\r\n\r\n", "head 204 end|");
  expect("HTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 304 Not Modified\r\n\r\n",
         "interim 103 link=a|head 304 end|");
  expect("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "head 200 content-length=5 end|", true);
}

TEST(LabAnswerReader, what_is_cut_off_is_not_complete) {
  expect("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
         "head 200 content-length=5|hel(incomplete)");
  expect("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n",
         "head 200|hel(incomplete)");
  expect("HTTP/1.1 200", "(incomplete)");
}

TEST(LabAnswerReader, what_cannot_be_said_otherwise_is_an_error) {
  for (const char* answer :
       {"200 OK\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n"}) {
    EXPECT_THROW(read(answer, false, 1), lab::ConnectionLost) << answer;
  }
}

}  // namespace
