#include "config/command_tree.hpp"

#include <CLI/CLI.hpp>

namespace kubelane {
namespace {

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (std::size_t end = text.find(at); end != std::string::npos; end = text.find(at, begin)) {
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  parts.push_back(text.substr(begin));
  return parts;
}

OptionText describe(const CLI::Option& option) {
  OptionText text;
  text.argument = !option.nonpositional();
  if (text.argument) {
    text.names.push_back(option.get_name());
  } else {
    for (const std::string& name : option.get_snames()) text.names.push_back("-" + name);
    for (const std::string& name : option.get_lnames()) text.names.push_back("--" + name);
  }
  if (option.get_items_expected_max() > 0) text.value = option.get_type_name();
  if (text.value.find('|') != std::string::npos) text.choices = split(text.value, '|');
  text.help = option.get_description();
  return text;
}

void fill(const CLI::App& app, CommandText& text) {
  text.words.push_back(app.get_name());
  text.aliases = app.get_aliases();
  text.help = app.get_description();
  text.takes_parents_options = app.get_fallthrough();
  for (const CLI::Option* option : app.get_options())
    if (!option->get_group().empty()) text.options.push_back(describe(*option));
  for (const CLI::App* below : app.get_subcommands({})) {
    CommandText command;
    command.words = text.words;
    fill(*below, command);
    text.commands.push_back(std::move(command));
  }
}

}  // namespace

CommandText describe(const CLI::App& app) {
  CommandText text;
  fill(app, text);
  return text;
}

}  // namespace kubelane
