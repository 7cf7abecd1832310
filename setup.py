"""The optional C++ kernels; everything else about the package is in pyproject.toml. Without a compiler the install goes on without them."""

import os
import platform
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path("src/slaf/kernels/native")
X86 = platform.machine().lower() in ("x86_64", "amd64", "i686") and "arm64" not in os.environ.get("ARCHFLAGS", "")
AVX2 = ["-mavx2", "-mfma", "-mf16c"]
WIDER = {"kernels_avx2.cpp": AVX2, "kernels_avx512.cpp": [*AVX2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"]}
# Never -ffast-math: a library linked with it changes the floating-point mode of the whole process.
FLAGS = [
    "-std=c++17",
    "-O3",
    "-g0",
    "-fvisibility=hidden",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
]


class Build(build_ext):
    """Compiles the files side by side, each with the flags of the instruction set that it is for."""

    def build_extension(self, ext):
        if self.compiler.compiler_type == "msvc":
            self.warn("the C++ kernels need GCC or Clang; slaf works without them")
            return
        plain = self.compiler._compile

        def compile_one(obj, src, extension, cc_args, extra_postargs, pp_opts):
            wider = WIDER.get(Path(src).name, []) if X86 else []
            plain(obj, src, extension, cc_args, [*extra_postargs, *wider], pp_opts)

        one_by_one = self.compiler.compile

        def compile_all(sources, **options):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                return [path for paths in pool.map(lambda source: one_by_one([source], **options), sources) for path in paths]

        self.compiler._compile, self.compiler.compile = compile_one, compile_all
        super().build_extension(ext)


# One build for all Pythons from 3.10 on, but those without the interpreter's lock, which have no stable ABI yet.
STABLE = not sysconfig.get_config_var("Py_GIL_DISABLED")
entries = Extension(
    "slaf.kernels._entries",
    sources=sorted(str(path) for path in HERE.glob("*.cpp")),
    depends=sorted(str(path) for path in HERE.glob("*.hpp")),
    language="c++",
    define_macros=[("SLAF_EXTENSION", None), *([("Py_LIMITED_API", "0x030A0000")] if STABLE else [])],
    py_limited_api=STABLE,
    extra_compile_args=FLAGS,
    extra_link_args=["-pthread"],
    optional=True,
)
setup(
    ext_modules=[] if os.environ.get("SLAF_NO_NATIVE") else [entries],
    cmdclass={"build_ext": Build},
    options={"bdist_wheel": {"py_limited_api": "cp310"}} if STABLE else {},
)
