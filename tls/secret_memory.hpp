// What keeps private keys out of core files and of swap.
#pragma once

namespace kubelane::tls {

// Call after install_openssl_memory() and before any key; once per process. Three walls, each as
// far as the system allows it:
// - the process is not dumpable: no core file, and nobody but root may attach or read its memory;
// - the core file that a system may write all the same (fs.suid_dumpable, or root's tools) leaves
//   out every page that is ours alone: heap, stacks, the arena;
// - OpenSSL's private numbers and octets live in an arena of their own that is locked into memory
//   (RLIMIT_MEMLOCK permitting), left out of core files, fenced by pages without access, and wiped
//   block by block as they are freed.
void guard_secrets() noexcept;

}  // namespace kubelane::tls
