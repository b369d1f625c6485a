/* A preloaded library that does nothing: what preloading itself costs. */
extern const char empty_library[];
const char empty_library[] = "";
