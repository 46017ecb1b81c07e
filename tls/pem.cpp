#include "tls/pem.hpp"

#include <algorithm>
#include <limits>

#include <openssl/pem.h>

namespace kubelane::tls {
namespace {

constexpr std::string_view begin_mark = "-----BEGIN ";
constexpr std::string_view end_mark = "-----END ";
constexpr std::string_view dashes = "-----";
constexpr std::size_t outside = std::string_view::npos;

std::string_view trim(std::string_view line) {
  while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
  while (!line.empty() && (line.back() == ' ' || line.back() == '\t' || line.back() == '\r'))
    line.remove_suffix(1);
  return line;
}

// Cuts the first line off `text`; `ended` tells whether a line feed followed it.
std::string_view take_line(std::string_view& text, bool& ended) {
  const std::size_t end = text.find('\n');
  ended = end != std::string_view::npos;
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(ended ? end + 1 : text.size());
  return line;
}

bool is_marker(std::string_view line, std::string_view mark) {
  return line.size() > mark.size() + dashes.size() && line.starts_with(mark) &&
         line.ends_with(dashes);
}

std::string_view label_of(std::string_view marker, std::string_view mark) {
  return marker.substr(mark.size(), marker.size() - mark.size() - dashes.size());
}

}  // namespace

PemBlocks split_pem(std::string_view text) {
  PemBlocks blocks;
  const char* const start = text.data();
  std::size_t block_begin = outside;
  std::string_view label;
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t line_begin = static_cast<std::size_t>(rest.data() - start);
    bool ended = false;
    const std::string_view raw = take_line(rest, ended);
    const std::string_view line = trim(raw);
    if (line.starts_with(begin_mark)) {
      if (block_begin != outside || !is_marker(line, begin_mark)) {
        blocks.torn = true;
        return blocks;
      }
      block_begin = line_begin;
      label = label_of(line, begin_mark);
    } else if (block_begin != outside && line.starts_with(end_mark)) {
      if (!is_marker(line, end_mark) || label_of(line, end_mark) != label) {
        blocks.torn = true;
        return blocks;
      }
      const std::string_view block =
          text.substr(block_begin, line_begin + raw.size() - block_begin);
      if (label == "CERTIFICATE") {
        blocks.certificates.push_back(block);
      } else if (label.ends_with("PRIVATE KEY")) {
        blocks.keys.push_back(block);
      }
      block_begin = outside;
    } else if (block_begin == outside && !ended &&
               (line.starts_with('-') || line.starts_with('@'))) {
      blocks.torn = true;  // every part that tbot writes ends with a line feed
      return blocks;
    }
  }
  blocks.torn = block_begin != outside;
  return blocks;
}

std::string_view pem_label(std::string_view pem) {
  bool ended = false;
  const std::string_view line = trim(take_line(pem, ended));
  return is_marker(line, begin_mark) ? label_of(line, begin_mark) : std::string_view{};
}

BioPtr memory_bio(std::string_view text) {
  constexpr std::size_t most = std::numeric_limits<int>::max();
  return BioPtr(BIO_new_mem_buf(text.empty() ? "" : text.data(),
                                static_cast<int>(std::min(text.size(), most))));
}

// 0 would be an empty password for OpenSSL 3.
int refuse_password(char*, int, int, void*) { return -1; }

CertificatePtr parse_certificate(std::string_view pem) {
  const std::string lines = trim_lines(pem);
  CertificatePtr certificate(
      PEM_read_bio_X509(memory_bio(lines).get(), nullptr, refuse_password, nullptr));
  drain_errors();
  return certificate;
}

std::string certificate_pem(X509* certificate) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (!bio || PEM_write_bio_X509(bio.get(), certificate) != 1) return {};
  char* bytes = nullptr;
  const long length = BIO_get_mem_data(bio.get(), &bytes);
  return {bytes, static_cast<std::size_t>(length)};
}

std::string trim_lines(std::string_view block) {
  std::string lines;
  lines.reserve(block.size() + 1);  // once, so that no copy of a key stays behind
  while (!block.empty()) {
    bool ended = false;
    lines += trim(take_line(block, ended));
    lines += '\n';
  }
  return lines;
}

}  // namespace kubelane::tls
