// Vulkan's way of extending a structure: a linked list behind it.
#pragma once

namespace statescope::vulkan {

/// Chains `next` in front of what `head` already points to.
template <typename Head, typename Next>
void chain(Head& head, Next& next) {
  next.pNext = const_cast<void*>(head.pNext);
  head.pNext = &next;
}

}  // namespace statescope::vulkan
