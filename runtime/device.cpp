// Choosing a device by name.
#include <algorithm>
#include <cctype>

#include <statescope/device.h>
#include <statescope/error.h>

namespace statescope {
namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

const DeviceEntry* default_entry(const std::vector<DeviceEntry>& devices) {
  for (const DeviceEntry& entry : devices) {
    if (entry.info.hardware && entry.info.can_run) return &entry;
  }
  for (const DeviceEntry& entry : devices) {
    if (lower(entry.info.description).find("llvmpipe") != std::string::npos) return &entry;
  }
  for (const DeviceEntry& entry : devices) {
    if (entry.info.api == Api::kCpu) return &entry;
  }
  return nullptr;
}

const DeviceEntry* find_entry(const std::vector<DeviceEntry>& devices, const std::string& wanted) {
  for (const DeviceEntry& entry : devices) {
    if (entry.info.name == wanted) return &entry;
  }
  const std::string part = lower(wanted);
  for (const DeviceEntry& entry : devices) {
    if (lower(entry.info.description).find(part) != std::string::npos) return &entry;
  }
  return nullptr;
}

}  // namespace

std::shared_ptr<Device> open_device(const DeviceList& list, const std::string& wanted) {
  const DeviceEntry* entry = wanted.empty() ? default_entry(list.devices) : find_entry(list.devices, wanted);
  if (entry) return entry->open();
  std::string message = wanted.empty() ? "no device" : "no device '" + wanted + "'";
  message += "; there are";
  for (const DeviceEntry& there : list.devices)
    message += " " + there.info.name + " (" + there.info.description + ")";
  if (list.devices.empty()) message += " none";
  for (const BackendStatus& status : list.backends) {
    if (!status.available) message += "; " + std::string(name(status.api)) + ": " + status.reason;
  }
  throw Error(ErrorKind::kNoDevice, message);
}

}  // namespace statescope
