#include "tests/lab/kube_api_protobuf.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tests/lab/base64.hpp"
#include "tests/lab/kube_api_resources.hpp"

namespace lab {
namespace {

namespace json = boost::json;

// What a field of a message becomes.
enum class As { text, number, boolean, message, texts, messages, text_map, bytes_map, int_or_text };

struct Message;
struct Field {
  std::uint32_t number;
  const char* name;
  As as;
  const Message* message = nullptr;
};
struct Message {
  std::vector<Field> fields;
};

// The field numbers are those of the generated.proto files of Kubernetes' API.
const Message kMeta{{{1, "name", As::text},
                     {2, "generateName", As::text},
                     {3, "namespace", As::text},
                     {11, "labels", As::text_map},
                     {12, "annotations", As::text_map}}};
const Message kEnv{{{1, "name", As::text}, {2, "value", As::text}}};
const Message kContainerPort{{{1, "name", As::text},
                              {2, "hostPort", As::number},
                              {3, "containerPort", As::number},
                              {4, "protocol", As::text}}};
const Message kContainer{{{1, "name", As::text},
                          {2, "image", As::text},
                          {3, "command", As::texts},
                          {4, "args", As::texts},
                          {5, "workingDir", As::text},
                          {6, "ports", As::messages, &kContainerPort},
                          {7, "env", As::messages, &kEnv},
                          {14, "imagePullPolicy", As::text}}};
const Message kPodSpec{{{2, "containers", As::messages, &kContainer},
                        {3, "restartPolicy", As::text},
                        {8, "serviceAccountName", As::text},
                        {10, "nodeName", As::text}}};
const Message kPodTemplate{
    {{1, "metadata", As::message, &kMeta}, {2, "spec", As::message, &kPodSpec}}};
const Message kLabelSelector{{{1, "matchLabels", As::text_map}}};
const Message kDeploymentSpec{{{1, "replicas", As::number},
                               {2, "selector", As::message, &kLabelSelector},
                               {3, "template", As::message, &kPodTemplate}}};
const Message kServicePort{{{1, "name", As::text},
                            {2, "protocol", As::text},
                            {3, "port", As::number},
                            {4, "targetPort", As::int_or_text},
                            {5, "nodePort", As::number}}};
const Message kServiceSpec{{{1, "ports", As::messages, &kServicePort},
                            {2, "selector", As::text_map},
                            {3, "clusterIP", As::text},
                            {4, "type", As::text},
                            {10, "externalName", As::text}}};
const Message kAccess{{{1, "namespace", As::text},
                       {2, "verb", As::text},
                       {3, "group", As::text},
                       {4, "version", As::text},
                       {5, "resource", As::text},
                       {6, "subresource", As::text},
                       {7, "name", As::text}}};
const Message kReviewSpec{{{1, "resourceAttributes", As::message, &kAccess}}};

const Message kPlain{{{1, "metadata", As::message, &kMeta}}};
const Message kConfigMap{{{1, "metadata", As::message, &kMeta},
                          {2, "data", As::text_map},
                          {3, "binaryData", As::bytes_map},
                          {4, "immutable", As::boolean}}};
const Message kSecret{{{1, "metadata", As::message, &kMeta},
                       {2, "data", As::bytes_map},
                       {3, "type", As::text},
                       {4, "stringData", As::text_map},
                       {5, "immutable", As::boolean}}};
const Message kDeployment{
    {{1, "metadata", As::message, &kMeta}, {2, "spec", As::message, &kDeploymentSpec}}};
const Message kService{
    {{1, "metadata", As::message, &kMeta}, {2, "spec", As::message, &kServiceSpec}}};
const Message kReview{
    {{1, "metadata", As::message, &kMeta}, {2, "spec", As::message, &kReviewSpec}}};

const Message* message_of(std::string_view kind) {
  if (kind == "Namespace" || kind == "ServiceAccount" || kind == "SelfSubjectReview") {
    return &kPlain;
  }
  if (kind == "Pod") return &kPodTemplate;
  if (kind == "ConfigMap") return &kConfigMap;
  if (kind == "Secret") return &kSecret;
  if (kind == "Deployment") return &kDeployment;
  if (kind == "Service") return &kService;
  if (kind == "SelfSubjectAccessReview") return &kReview;
  return nullptr;
}

// The wire format: one field after the other.
class Wire {
 public:
  explicit Wire(std::string_view encoded) : rest_(encoded) {}

  // False at the end. Then number, and value or bytes by the field's type, are the next field's.
  bool next() {
    if (rest_.empty()) return false;
    const std::uint64_t tag = varint();
    number = static_cast<std::uint32_t>(tag >> 3);
    value = 0;
    bytes = {};
    switch (tag & 7) {
      case 0:
        value = varint();
        break;
      case 1:
        take(8);
        break;
      case 2:
        bytes = take(varint());
        break;
      case 5:
        take(4);
        break;
      default:
        throw bad_request("damaged protobuf: unknown wire type");
    }
    return true;
  }

  std::uint32_t number = 0;
  std::uint64_t value = 0;
  std::string_view bytes;

 private:
  std::string_view take(std::uint64_t count) {
    if (count > rest_.size()) throw bad_request("damaged protobuf: it ends early");
    const std::string_view taken = rest_.substr(0, static_cast<std::size_t>(count));
    rest_.remove_prefix(taken.size());
    return taken;
  }
  std::uint64_t varint() {
    std::uint64_t made = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1).front());
      made |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return made;
    }
    throw bad_request("damaged protobuf: a number too long");
  }

  std::string_view rest_;
};

// Key and value of a map's entry.
std::pair<std::string, std::string> map_entry(std::string_view bytes) {
  std::pair<std::string, std::string> entry;
  for (Wire wire(bytes); wire.next();) {
    if (wire.number == 1) entry.first = wire.bytes;
    if (wire.number == 2) entry.second = wire.bytes;
  }
  return entry;
}

json::value int_or_text(std::string_view bytes) {
  bool is_text = false;
  std::int64_t number = 0;
  std::string_view text;
  for (Wire wire(bytes); wire.next();) {
    if (wire.number == 1) is_text = wire.value == 1;
    if (wire.number == 2) number = static_cast<std::int64_t>(wire.value);
    if (wire.number == 3) text = wire.bytes;
  }
  if (is_text) return json::string(text);
  return number;
}

json::array& list(json::value& value) {
  if (!value.is_array()) value.emplace_array();
  return value.get_array();
}

json::object& map(json::value& value) {
  if (!value.is_object()) value.emplace_object();
  return value.get_object();
}

json::object decode(const Message& message, std::string_view bytes) {
  json::object object;
  for (Wire wire(bytes); wire.next();) {
    const auto field = std::find_if(message.fields.begin(), message.fields.end(),
                                    [&](const Field& each) { return each.number == wire.number; });
    if (field == message.fields.end()) continue;
    json::value& value = object[field->name];
    switch (field->as) {
      case As::text:
        // Absent and empty are the same to Go, which writes both.
        if (wire.bytes.empty()) {
          object.erase(field->name);
        } else {
          value = json::string(wire.bytes);
        }
        break;
      case As::number:
        value = static_cast<std::int64_t>(wire.value);
        break;
      case As::boolean:
        value = wire.value != 0;
        break;
      case As::message:
        value = decode(*field->message, wire.bytes);
        break;
      case As::texts:
        list(value).push_back(json::string(wire.bytes));
        break;
      case As::messages:
        list(value).push_back(decode(*field->message, wire.bytes));
        break;
      case As::text_map: {
        auto [key, text] = map_entry(wire.bytes);
        map(value)[key] = text;
        break;
      }
      case As::bytes_map: {
        auto [key, data] = map_entry(wire.bytes);
        map(value)[key] = base64(data);
        break;
      }
      case As::int_or_text:
        value = int_or_text(wire.bytes);
        break;
    }
  }
  return object;
}

}  // namespace

json::object from_protobuf(std::string_view body) {
  constexpr std::string_view kMagic("k8s\0", 4);
  if (!body.starts_with(kMagic)) throw bad_request("not Kubernetes' protobuf encoding");
  // The envelope: 1 is the type (1 apiVersion, 2 kind), 2 the object itself.
  std::pair<std::string, std::string> type;
  std::string_view raw;
  for (Wire wire(body.substr(kMagic.size())); wire.next();) {
    if (wire.number == 1) type = map_entry(wire.bytes);
    if (wire.number == 2) raw = wire.bytes;
  }
  const Message* const message = message_of(type.second);
  if (message == nullptr) {
    throw ApiError{
        415, "UnsupportedMediaType", "protobuf is not understood for the kind " + type.second, {}};
  }
  json::object object = decode(*message, raw);
  object["apiVersion"] = type.first;
  object["kind"] = type.second;
  return object;
}

}  // namespace lab
