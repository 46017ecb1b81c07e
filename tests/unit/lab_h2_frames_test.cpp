// Frames and header blocks made by hand are what the RFCs print.
#include <string>

#include <gtest/gtest.h>

#include "tests/lab/h2_frames.hpp"

namespace {

namespace h2 = lab::h2;
using namespace std::string_literals;

TEST(LabH2Frames, integers_are_those_of_rfc_7541_c_1) {
  EXPECT_EQ(h2::hpack_integer(0, 5, 10), "\x0a");
  EXPECT_EQ(h2::hpack_integer(0, 5, 1337), "\x1f\x9a\x0a");
  EXPECT_EQ(h2::hpack_integer(0, 8, 42), "\x2a");
  EXPECT_EQ(h2::hpack_integer(0x80, 7, 127), "\xff\x00"s);
}

TEST(LabH2Frames, heads_hold_length_type_flags_and_stream) {
  EXPECT_EQ(h2::frame(h2::frame_type::data, h2::flag::end_stream, 0x01020304, "abc"),
            "\x00\x00\x03\x00\x01\x01\x02\x03\x04"
            "abc"s);
  EXPECT_EQ(h2::settings_frame({{h2::setting::max_concurrent_streams, 100}}),
            "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64"s);
  EXPECT_EQ(h2::rst_stream_frame(3, h2::error_code::cancel),
            "\x00\x00\x04\x03\x00\x00\x00\x00\x03\x00\x00\x00\x08"s);
  EXPECT_EQ(h2::window_update_frame(0, 65'536),
            "\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x01\x00\x00"s);
  EXPECT_EQ(h2::goaway_frame(5, 2, "why"),
            "\x00\x00\x0b\x07\x00\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x02why"s);
  EXPECT_EQ(h2::ping_frame("12345678", true),
            "\x00\x00\x08\x06\x01\x00\x00\x00\x00"
            "12345678"s);
}

TEST(LabH2Frames, a_length_may_lie) {
  EXPECT_EQ(h2::frame_of_length(0xffffff, 0, 0, 1, "x"), "\xff\xff\xff\x00\x00\x00\x00\x00\x01x"s);
}

TEST(LabH2Frames, a_literal_field_is_not_touched) {
  EXPECT_EQ(h2::header_block({{"Up", "a\0b"s}}), "\x00\x02Up\x03"s + "a\0b"s);
}

}  // namespace
