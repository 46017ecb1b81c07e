#include "proxy/cli/man_page.hpp"

#include "config/exit_codes.hpp"

namespace kubelane::cli {
namespace {

// Text that means itself in roff.
std::string plain(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const bool line_begin = out.empty() || out.back() == '\n';
    if (line_begin && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else
      out += c;
  }
  return out;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

// The help of a command that takes more than a parser can know begins with its usage.
std::string synopsis(const CommandText& command) {
  const std::string words = joined(command.words);
  if (command.help.starts_with(words + " "))
    return "\\fB" + plain(words) + "\\fR" +
           plain(command.help.substr(words.size(), command.help.find('\n') - words.size()));
  std::string text = "\\fB" + plain(words) + "\\fR";
  if (!command.commands.empty()) text += " [\\fICOMMAND\\fR]";
  if (command.options.size() > 1) text += " [\\fIOPTIONS\\fR]";
  for (const OptionText& option : command.options)
    if (option.argument) text += " \\fI" + plain(option.names.front()) + "\\fR";
  return text;
}

std::string option_text(const OptionText& option) {
  std::string names;
  for (const std::string& name : option.names)
    names += (names.empty() ? "\\fB" : ", \\fB") + plain(name) + "\\fR";
  if (!option.value.empty() && !option.argument) names += " \\fI" + plain(option.value) + "\\fR";
  return ".TP\n" + names + "\n" + plain(option.help) + "\n";
}

void add_command(const CommandText& command, std::string& text) {
  const bool top = command.words.size() == 1;
  if (!top) {
    text += ".SS " + plain(joined(command.words)) + "\n" + plain(command.help) + "\n";
    for (const std::string& alias : command.aliases)
      text += ".br\nAlso called \\fB" + plain(alias) + "\\fR.\n";
  }
  for (const OptionText& option : command.options) text += option_text(option);
  for (const CommandText& below : command.commands) add_command(below, text);
}

}  // namespace

std::string man_page(const CommandText& tree) {
  std::string text = ".TH KUBELANE 1 \"\" \"kubelane " KUBELANE_VERSION
                     "\" \"User Commands\"\n.SH NAME\nkubelane \\- Kubernetes behind Teleport on "
                     "localhost\n.SH SYNOPSIS\n";
  for (const CommandText& command : tree.commands) text += synopsis(command) + "\n.br\n";
  text += ".SH DESCRIPTION\n" + plain(tree.help) + "\n.SH COMMANDS\n";
  add_command(tree, text);
  text += ".SH ENVIRONMENT\n" +
          plain(
              "Each option of `kubelane start` has a variable: KUBELANE_ and its name in capitals, "
              "with _ for -. Where tbot has a variable of its own, that works, too, and is weaker. "
              "An option on the command line wins over the environment, which wins over the file. "
              "An option that can be repeated takes several values with ; between them.\n");
  text += ".SH EXIT STATUS\n";
  for (const exit_code::Meaning& each : exit_code::meanings)
    text += ".TP\n\\fB" + plain(each.code) + "\\fR\n" + plain(each.text) + "\n";
  return text;
}

}  // namespace kubelane::cli
