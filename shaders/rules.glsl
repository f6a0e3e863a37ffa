// Rules, as the enumeration Rule of the host.
#define LINEAR 0
#define SSD 1
#define GLA 2
#define GATED_DELTA 3
#ifndef RULE
#error "RULE: one of the rules above"
#endif
