// Small files, read and written whole: what is kept on disk is a key, a certificate, a kubeconfig.
#pragma once

#include <string>
#include <string_view>

namespace kubelane::tls {

// Each returns 0, or errno.

// Fills `text` from the file's beginning, or makes it shorter where the file is.
int read_into(int fd, std::string& text) noexcept;

// Writes all of it and waits for the disk.
int write_durably(int fd, std::string_view text) noexcept;

// Puts a file of 0600 in the place of `name`, whole or not at all, also when the machine loses
// power. Who calls sees to it that nobody does the same at the same time: the temporary's name is
// free, or left by a crash. A symbolic link is replaced, not followed.
int replace_file(int directory, const std::string& name, std::string_view text);

}  // namespace kubelane::tls
