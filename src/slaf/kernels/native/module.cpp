// The extension module slaf.kernels._entries: every SLAF_ENTRY and SLAF_METHOD of the other files is a function in it.
#include "entry.hpp"

#ifdef SLAF_EXTENSION
#include <vector>

PyMODINIT_FUNC PyInit__entries() {
  static std::vector<PyMethodDef> methods;
  if (methods.empty()) {
    for (const slaf::Method* m = slaf::Method::first; m; m = m->next) methods.push_back(m->definition);
    methods.push_back({});
  }
  static PyModuleDef_Slot slots[] = {
#ifdef Py_GIL_DISABLED
      {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
      {0, nullptr}};
  static PyModuleDef module = {PyModuleDef_HEAD_INIT, "slaf.kernels._entries", nullptr, 0, methods.data(), slots, nullptr, nullptr, nullptr};
  return PyModuleDef_Init(&module);
}
#endif
