// What Python calls. SLAF_ENTRY(name, arguments…) { … } defines ``int slaf_name(arguments…)``, which returns a status, and makes it a
// method of the extension module: how its arguments are read follows from their types, so a kernel's signature stands in one place.
#pragma once

#ifndef SLAF_EXTENSION  // without Python, for the sanitizers: functions alone
#define SLAF_METHOD(type, name, ...) type slaf_##name(__VA_ARGS__)
#else
#define SLAF_METHOD(type, name, ...)                                        \
  type slaf_##name(__VA_ARGS__);                                            \
  static const slaf::Method name##_method = slaf::method<slaf_##name>(#name); \
  type slaf_##name(__VA_ARGS__)

#include <Python.h>

#include <limits>
#include <tuple>
#include <type_traits>
#include <utility>
#endif
#define SLAF_ENTRY(name, ...) SLAF_METHOD(int, name, __VA_ARGS__)

namespace slaf {

constexpr int OK = 0, BAD_ARGUMENT = 1, NO_MEMORY = 2, INACCURATE = 3;  // what an entry returns

#ifdef SLAF_EXTENSION

// All methods, in a list that their definitions fill before the module is made.
struct Method {
  PyMethodDef definition;
  const Method* next;
  static inline const Method* first = nullptr;
  Method(const char* name, PyCFunction run, const char* types) : definition{name, run, METH_FASTCALL, types}, next(first) { first = this; }
  Method(const Method&) = delete;
};

// -- arguments: integers, numbers, text, and for a pointer a tensor, a bytearray, an address, or None ----------------------------------

inline bool read(PyObject* from, double& to) {
  to = PyFloat_AsDouble(from);
  return to != -1.0 || !PyErr_Occurred();
}

template <class T, std::enable_if_t<std::is_integral_v<T>, int> = 0>
bool read(PyObject* from, T& to) {
  const long long found = PyLong_AsLongLong(from);
  if (found == -1 && PyErr_Occurred()) return false;
  to = static_cast<T>(found);
  if (to == found) return true;
  PyErr_SetString(PyExc_OverflowError, "an integer is too large for its type");
  return false;
}

inline bool read(PyObject* from, const char*& to) {
  to = from == Py_None ? nullptr : PyUnicode_AsUTF8AndSize(from, nullptr);
  return from == Py_None || to != nullptr;
}

inline PyObject* const& data_ptr() {
  static PyObject* const name = PyUnicode_InternFromString("data_ptr");
  return name;
}

template <class T>
bool read(PyObject* from, T*& to) {
  to = nullptr;
  if (from == Py_None) return true;
  if (PyByteArray_Check(from)) return to = reinterpret_cast<T*>(PyByteArray_AsString(from)), true;
  PyObject* address = PyLong_Check(from) ? Py_NewRef(from) : PyObject_CallMethodObjArgs(from, data_ptr(), nullptr);
  if (address == nullptr) return false;
  to = static_cast<T*>(PyLong_AsVoidPtr(address));
  Py_DECREF(address);
  return to != nullptr || !PyErr_Occurred();
}

// In the letters of Python's module struct.
template <class T>
constexpr char letter() {
  if (std::is_same_v<T, const char*>) return 's';
  return std::is_pointer_v<T> ? 'P' : std::is_same_v<T, double> ? 'd' : sizeof(T) == 8 ? 'q' : 'i';
}

// -- results ---------------------------------------------------------------------------------------------------------------------------

inline PyObject* answer(const char*, bool found) { return PyBool_FromLong(found); }
inline PyObject* answer(const char*, int64_t found) { return PyLong_FromLongLong(found); }
inline PyObject* answer(const char*, const char* text) { return PyUnicode_FromString(text); }

// Of a kernel: whether it did it, for one may find that it cannot, by what it has read.
inline PyObject* answer(const char* name, int status) {
  if (status == BAD_ARGUMENT) return PyErr_Format(PyExc_RuntimeError, "slaf's kernel %s refused its arguments; please report this", name);
  if (status == NO_MEMORY) return PyErr_Format(PyExc_MemoryError, "slaf's kernel %s is out of memory", name);
  return PyBool_FromLong(status == OK);
}

template <auto function>
struct Call;

template <class R, class... A, R (*function)(A...)>
struct Call<function> {
  static inline const char* name;
  static constexpr char types[] = {letter<A>()..., 0};

  static PyObject* run(PyObject*, PyObject* const* given, Py_ssize_t count) {
    if (count != sizeof...(A)) return PyErr_Format(PyExc_TypeError, "slaf's kernel %s takes %d arguments, not %zd", name, (int)sizeof...(A), count);
    return with(given, std::index_sequence_for<A...>());
  }

 private:
  template <size_t... i>
  static PyObject* with(PyObject* const* given, std::index_sequence<i...>) {
    std::tuple<A...> values;
    if (!(read(given[i], std::get<i>(values)) && ...)) return nullptr;
    R found;
    Py_BEGIN_ALLOW_THREADS
    found = function(std::get<i>(values)...);
    Py_END_ALLOW_THREADS
    return answer(name, found);
  }
};

template <auto function>
Method method(const char* name) {
  Call<function>::name = name;
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(Call<function>::run)), Call<function>::types};
}

#endif
}  // namespace slaf
