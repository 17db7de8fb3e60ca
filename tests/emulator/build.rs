//! Compiles the product's kernels with gcc: plainly, with the checks, and each mutant with the checks; and the emulator itself.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

include!("src/mutants.rs");

/// Where the product's kernels are, from here.
const PRODUCT: &str = "../../src/kernels/cuda";
/// The product's files of kernels, and one of kernels that are there to be caught.
const FILES: [(&str, &str); 4] = [
    ("norm", PRODUCT),
    ("q8_0", PRODUCT),
    ("segmented", PRODUCT),
    ("probes", "c"),
];
const RUNTIME: [&str; 3] = ["fibers", "memory", "check"];
const CHECKED: [&str; 2] = ["-fsanitize=thread", "-fsanitize=bounds,alignment"];

/// One call of the compiler.
struct Unit {
    name: String,
    source: PathBuf,
    checked: bool,
}

fn main() {
    let target = |what: &str| env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    for path in ["build.rs", "src/mutants.rs", "c"] {
        println!("cargo:rerun-if-changed={path}");
    }
    println!("cargo:rerun-if-changed={PRODUCT}/prelude.cuh");
    for (file, folder) in FILES {
        println!("cargo:rerun-if-changed={folder}/{file}.cu");
    }
    println!("cargo:rerun-if-env-changed=EMULATOR_CC");
    if target("OS") != "linux" || target("ARCH") != "x86_64" {
        return;
    }
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    let mut units: Vec<Unit> = RUNTIME
        .iter()
        .map(|name| Unit {
            name: (*name).to_owned(),
            source: here.join("c").join(name).with_extension("c"),
            checked: false,
        })
        .collect();
    let mut tables = Tables::default();
    for (file, folder) in FILES {
        let source = here.join(folder).join(file).with_extension("cu");
        let text = fs::read_to_string(&source).expect("the product's kernels");
        for build in ["plain", "checked"] {
            let checked = build == "checked";
            tables.add(&out, &mut units, (build, file), &text, checked);
        }
        for (at, mutant) in MUTANTS.iter().enumerate().filter(|(_, m)| m.file == file) {
            let found = text.matches(mutant.from).count();
            assert_eq!(
                found, 1,
                "`{}` has to stand in {file}.cu just once",
                mutant.from
            );
            let mutated = text.replace(mutant.from, mutant.to);
            tables.add(
                &out,
                &mut units,
                (&format!("mutant_{at}"), file),
                &mutated,
                true,
            );
        }
    }
    fs::write(out.join("tables.c"), tables.finish()).expect("the build folder");
    units.push(Unit {
        name: "tables".to_owned(),
        source: out.join("tables.c"),
        checked: false,
    });
    compile(&here, &out, &units);
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=static=emulated");
}

/// The kernels of all builds, for `emu_find`.
#[derive(Default)]
struct Tables {
    declarations: String,
    rows: String,
}

impl Tables {
    /// Writes a file that has the kernels of `text` and a table of them behind them.
    fn add(
        &mut self,
        out: &Path,
        units: &mut Vec<Unit>,
        (build, file): (&str, &str),
        text: &str,
        checked: bool,
    ) {
        let name = format!("{file}_{build}");
        let mut source = format!("{text}\n");
        let mut rows = String::new();
        for Kernel {
            name,
            threads,
            parameters,
        } in kernels(text)
        {
            let (mut arguments, mut described) = (Vec::new(), Vec::new());
            for (at, parameter) in parameters.iter().enumerate() {
                arguments.push(format!("*({} *)a[{at}]", parameter.kind));
                described.push(format!("{{\"{}\", {}}}", parameter.name, parameter.code()));
            }
            writeln!(
                source,
                "static __attribute__((no_sanitize(\"thread\", \"undefined\"))) void enter_{name}(void **a) {{ {name}({}); }}\n\
                 static const struct emu_parameter parameters_{name}[] = {{{}}};",
                arguments.join(", "),
                described.join(", "),
            )
            .expect("a string");
            writeln!(
                rows,
                "  {{\"{name}\", enter_{name}, ({threads}), {}, parameters_{name}}},",
                parameters.len()
            )
            .expect("a string");
        }
        writeln!(
            source,
            "const struct emu_kernel emu_{name}[] = {{\n{rows}  {{0}}\n}};"
        )
        .expect("a string");
        let path = out.join(format!("{name}.c"));
        fs::write(&path, source).expect("the build folder");
        writeln!(
            self.declarations,
            "extern const struct emu_kernel emu_{name}[];"
        )
        .expect("a string");
        writeln!(self.rows, "  {{\"{build}\", emu_{name}}},").expect("a string");
        units.push(Unit {
            name,
            source: path,
            checked,
        });
    }

    fn finish(&self) -> String {
        let Self { declarations, rows } = self;
        format!(
            "#include \"emulated.h\"\n{declarations}\
             static const struct {{ const char *build; const struct emu_kernel *kernels; }} builds[] = {{\n{rows}}};\n\
             const struct emu_kernel *emu_find(const char *build, const char *name) {{\n\
             \x20 for (size_t i = 0; i < sizeof builds / sizeof builds[0]; i++)\n\
             \x20   if (!strcmp(builds[i].build, build))\n\
             \x20     for (const struct emu_kernel *kernel = builds[i].kernels; kernel->name; kernel++)\n\
             \x20       if (!strcmp(kernel->name, name)) return kernel;\n\
             \x20 return 0;\n}}\n"
        )
    }
}

/// `KERNEL(name, threads)(parameters)`, as the files have it.
struct Kernel<'a> {
    name: &'a str,
    threads: &'a str,
    parameters: Vec<Parameter<'a>>,
}

struct Parameter<'a> {
    kind: &'a str,
    name: &'a str,
}

impl Parameter<'_> {
    fn code(&self) -> &'static str {
        match self.kind {
            kind if kind.contains('*') => "EMU_POINTER",
            "unsigned" => "EMU_UNSIGNED",
            "float" => "EMU_FLOAT",
            other => panic!("no kernel has had a parameter of type `{other}` yet"),
        }
    }
}

fn kernels(text: &str) -> impl Iterator<Item = Kernel<'_>> {
    text.split("\nKERNEL(").skip(1).map(|part| {
        let (head, rest) = part.split_once(")(").expect("parameters");
        let (name, threads) = head.split_once(',').expect("threads of a block");
        let (parameters, _) = rest.split_once(") {").expect("a body");
        let parameters = parameters.split(',').map(|parameter| {
            let parameter = parameter.trim();
            let at = parameter.rfind([' ', '*']).expect("a type") + 1;
            Parameter {
                kind: parameter[..at].trim(),
                name: &parameter[at..],
            }
        });
        Kernel {
            name,
            threads: threads.trim(),
            parameters: parameters.collect(),
        }
    })
}

fn compile(here: &Path, out: &Path, units: &[Unit]) {
    let compiler = env::var("EMULATOR_CC").unwrap_or_else(|_| "gcc".to_owned());
    let at_once = env::var("NUM_JOBS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    for some in units.chunks(at_once) {
        let running: Vec<_> = some
            .iter()
            .map(|unit| {
                let mut command = Command::new(&compiler);
                command.args(["-std=gnu11", "-O2", "-g1", "-fPIC", "-w", "-DEMULATED"]);
                // Casts between vector types and their parts are what kernels do all day; and a load that gcc widened by itself
                // would be checked as one that the kernel never made.
                command.args(["-fno-strict-aliasing", "-fno-tree-vectorize"]);
                command.arg("-I").arg(here.join("c"));
                command.arg("-I").arg(here.join(PRODUCT));
                command.args(unit.checked.then_some(CHECKED).iter().flatten());
                command.arg("-c").arg(&unit.source);
                command
                    .arg("-o")
                    .arg(out.join(&unit.name).with_extension("o"));
                let child = command.spawn();
                (
                    unit,
                    child.unwrap_or_else(|e| {
                        panic!("the emulated device needs gcc: {compiler}: {e}")
                    }),
                )
            })
            .collect();
        for (unit, mut child) in running {
            let status = child.wait().expect("a compiler that ends");
            assert!(
                status.success(),
                "{} does not compile",
                unit.source.display()
            );
        }
    }
    let archive = out.join("libemulated.a");
    fs::remove_file(&archive).ok();
    let objects = units
        .iter()
        .map(|unit| out.join(&unit.name).with_extension("o"));
    let status = Command::new("ar")
        .arg("crs")
        .arg(&archive)
        .args(objects)
        .status();
    assert!(
        status.expect("ar, which comes with gcc").success(),
        "ar failed"
    );
}
