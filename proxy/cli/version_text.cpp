#include "proxy/cli/version_text.hpp"

#include <CLI/Version.hpp>
#include <boost/version.hpp>
#include <google/protobuf/stubs/common.h>
#include <llhttp.h>
#include <nghttp2/nghttp2ver.h>
#include <spdlog/version.h>

#include "tls/openssl.hpp"

namespace kubelane::cli {
namespace {

std::string dotted(int major, int minor, int patch) {
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
}

std::string build_text() {
  std::string text = KUBELANE_BUILD;  // type, processor
#if defined(__clang__)
  text += ", clang " + dotted(__clang_major__, __clang_minor__, __clang_patchlevel__);
#else
  text += ", gcc " + dotted(__GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  text += ", with a sanitizer";
#endif
  return text;
}

}  // namespace

std::string version_text() {
  return "kubelane " KUBELANE_VERSION "\nbuild: " + build_text() +
         "\nlibraries: " + tls::openssl_version() + "; Boost " +
         dotted(BOOST_VERSION / 100'000, BOOST_VERSION / 100 % 1'000, BOOST_VERSION % 100) +
         "; nghttp2 " NGHTTP2_VERSION "; llhttp " +
         dotted(LLHTTP_VERSION_MAJOR, LLHTTP_VERSION_MINOR, LLHTTP_VERSION_PATCH) + "; protobuf " +
         dotted(GOOGLE_PROTOBUF_VERSION / 1'000'000, GOOGLE_PROTOBUF_VERSION / 1'000 % 1'000,
                GOOGLE_PROTOBUF_VERSION % 1'000) +
         "; yaml-cpp " KUBELANE_YAML_VERSION "; spdlog " +
         dotted(SPDLOG_VER_MAJOR, SPDLOG_VER_MINOR, SPDLOG_VER_PATCH) + "; CLI11 " CLI11_VERSION +
         "\n";
}

}  // namespace kubelane::cli
