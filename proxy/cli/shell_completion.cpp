#include "proxy/cli/shell_completion.hpp"

#include <algorithm>

namespace kubelane::cli {
namespace {

// A command with all the options that may stand behind it.
struct Completed {
  std::string path;  // "kubelane start"
  std::string help;
  std::vector<OptionText> options;
  std::vector<const CommandText*> commands;
};

void collect(const CommandText& command, const std::vector<OptionText>& parents,
             std::vector<Completed>& all) {
  Completed completed;
  for (const std::string& word : command.words)
    completed.path += (completed.path.empty() ? "" : " ") + word;
  completed.options = command.options;
  if (command.takes_parents_options) {
    for (const OptionText& option : parents)
      if (option.names.front() != "-h") completed.options.push_back(option);
  }
  for (const CommandText& below : command.commands) completed.commands.push_back(&below);
  const std::vector<OptionText> options = completed.options;
  all.push_back(std::move(completed));
  for (const CommandText& below : command.commands) collect(below, options, all);
}

std::string words_of(const Completed& command) {
  std::string words;
  const auto add = [&words](const std::string& word) {
    words += (words.empty() ? "" : " ") + word;
  };
  for (const CommandText* below : command.commands) add(below->words.back());
  for (const OptionText& option : command.options) {
    if (option.argument)
      for (const std::string& choice : option.choices) add(choice);
    else
      for (const std::string& name : option.names) add(name);
  }
  return words;
}

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : between) + word;
  return text;
}

// ---- bash

std::string bash_values(const Completed& command) {
  std::string cases;
  for (const OptionText& option : command.options) {
    if (option.value.empty() || option.argument) continue;
    std::string action = "return";
    if (!option.choices.empty())
      action =
          "COMPREPLY=($(compgen -W '" + joined(option.choices, " ") + "' -- \"$word\")); return";
    if (option.value == "FILE") action = "COMPREPLY=($(compgen -f -- \"$word\")); return";
    if (option.value == "DIR") action = "COMPREPLY=($(compgen -d -- \"$word\")); return";
    cases += "        " + joined(option.names, "|") + ") " + action + " ;;\n";
  }
  return cases;
}

std::string bash(const std::vector<Completed>& all) {
  std::string known;
  std::string cases;
  for (const Completed& command : all) {
    known += (known.empty() ? "'" : "|'") + command.path + "'";
    cases += "    '" + command.path + "')\n";
    if (const std::string values = bash_values(command); !values.empty())
      cases += "      case $previous in\n" + values + "      esac\n";
    cases += "      words='" + words_of(command) + "' ;;\n";
  }
  return R"(# bash completion for kubelane: source <(kubelane completion bash)
_kubelane() {
  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} path=kubelane words= i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    # What stands behind -- is a command line of its own.
    if [ "${COMP_WORDS[i]}" = -- ]; then
      declare -F _command_offset >/dev/null && _command_offset $((i + 1))
      return
    fi
    case "$path ${COMP_WORDS[i]}" in
      )" +
         known + R"() path="$path ${COMP_WORDS[i]}" ;;
    esac
  done
  case $path in
)" + cases +
         R"(  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o filenames -o bashdefault -F _kubelane kubelane
)";
}

// ---- zsh

// Within '…' of _arguments and _describe: no quotation mark, bracket or colon of its own.
std::string zsh_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') break;
    if (c == '\'')
      out += "'\\''";
    else if (c == ':' || c == '[' || c == ']' || c == '\\')
      out += std::string("\\") + c;
    else
      out += c;
  }
  return out;
}

std::string zsh_action(const OptionText& option) {
  if (!option.choices.empty()) return "(" + joined(option.choices, " ") + ")";
  if (option.value == "FILE") return "_files";
  if (option.value == "DIR") return "_files -/";
  return " ";
}

std::string zsh_function(const std::string& path) {
  std::string name = "_" + path;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == ' ' || c == '/'; }, '_');
  return name;
}

std::string zsh_command(const Completed& command) {
  std::string text = zsh_function(command.path) + "() {\n  _arguments -s";
  for (const OptionText& option : command.options) {
    if (option.argument) {
      if (!option.choices.empty())
        text += " \\\n    '1:" + zsh_text(option.names.front()) + ":" + zsh_action(option) + "'";
      continue;
    }
    for (const std::string& name : option.names)
      text +=
          " \\\n    '*" + name + "[" + zsh_text(option.help) + "]" +
          (option.value.empty() ? ""
                                : ":" + zsh_text(option.choices.empty() ? option.value : "value") +
                                      ":" + zsh_action(option)) +
          "'";
  }
  if (command.path == "kubelane run") text += " \\\n    '*:: :_normal'";
  if (command.commands.empty()) return text + "\n}\n";
  std::string list;
  std::string cases;
  for (const CommandText* below : command.commands) {
    list += "        '" + zsh_text(below->words.back()) + ":" + zsh_text(below->help) + "'\n";
    cases += "        " + below->words.back() + ") " +
             zsh_function(command.path + " " + below->words.back()) + " ;;\n";
  }
  return text +
         " \\\n    '1: :->command' '*:: :->arguments'\n  case $state in\n    command)\n"
         "      local -a commands=(\n" +
         list +
         "      )\n      _describe command commands ;;\n    arguments)\n      case $words[1] in\n" +
         cases + "      esac ;;\n  esac\n}\n";
}

std::string zsh(const std::vector<Completed>& all) {
  std::string text =
      "#compdef kubelane\n# zsh completion for kubelane: kubelane completion zsh "
      ">\"${fpath[1]}/_kubelane\"\n";
  for (const Completed& command : all) {
    std::string function = zsh_command(command);
    const std::size_t body = function.find("{\n") + 2;
    function.insert(body, "  local curcontext=$curcontext state line\n  typeset -A opt_args\n");
    text += function;
  }
  return text +
         "if [ \"$funcstack[1]\" = _kubelane ]; then\n  _kubelane \"$@\"\nelse\n"
         "  compdef _kubelane kubelane\nfi\n";
}

// ---- fish

std::string fish_text(const std::string& text) {
  std::string out;
  for (const char c : text.substr(0, text.find('\n'))) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

// True where exactly these commands stand, and none of those below.
std::string fish_condition(const Completed& command) {
  return "__kubelane_at " + fish_text(command.path.substr(std::string("kubelane").size()));
}

std::string fish(const std::vector<Completed>& all) {
  std::string known;
  std::string lines;
  for (const Completed& command : all) {
    if (command.path != "kubelane")
      known += " '" + command.path.substr(std::string("kubelane ").size()) + "'";
    const std::string begin = "complete -c kubelane -n '" + fish_condition(command) + "' ";
    for (const CommandText* below : command.commands)
      lines += begin + "-f -a '" + below->words.back() + "' -d '" + fish_text(below->help) + "'\n";
    for (const OptionText& option : command.options) {
      if (option.argument) {
        if (!option.choices.empty())
          lines += begin + "-f -a '" + joined(option.choices, " ") + "'\n";
        continue;
      }
      lines += begin;
      for (const std::string& name : option.names)
        lines +=
            name.starts_with("--") ? "-l " + name.substr(2) + " " : "-s " + name.substr(1) + " ";
      if (!option.choices.empty())
        lines += "-x -a '" + joined(option.choices, " ") + "' ";
      else if (option.value == "DIR")
        lines += "-x -a '(__fish_complete_directories)' ";
      else if (option.value == "FILE")
        lines += "-r ";
      else if (!option.value.empty())
        lines += "-x ";
      lines += "-d '" + fish_text(option.help) + "'\n";
    }
  }
  return R"fish(# fish completion for kubelane: kubelane completion fish | source
function __kubelane_at
  set -l path
  for word in (commandline -opc)[2..-1]
    test "$word" = --; and return 1
    if contains -- (string trim -- "$path $word"))fish" +
         known + R"fish(
      set path (string trim -- "$path $word")
    end
  end
  test "$path" = "$argv"
end
complete -c kubelane -f
)fish" + lines;
}

}  // namespace

std::string shell_completion(const CommandText& tree, const std::string& shell) {
  std::vector<Completed> all;
  collect(tree, {}, all);
  if (shell == "zsh") return zsh(all);
  if (shell == "fish") return fish(all);
  return bash(all);
}

}  // namespace kubelane::cli
