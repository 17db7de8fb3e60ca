//! The kernels as the driver takes them, and the proof that they are made from the source beside them.

/// What one `.cu` file became.
pub(super) struct Module {
    /// Of its file.
    pub name: &'static str,
    /// Text, made by `ptx.py`.
    pub ptx: &'static str,
    /// Names of its kernels.
    pub kernels: &'static [&'static str],
}

pub(super) const MODULES: [Module; 3] = [
    Module {
        name: "norm",
        ptx: include_str!("norm.ptx"),
        kernels: &["rms_norm"],
    },
    Module {
        name: "q8_0",
        ptx: include_str!("q8_0.ptx"),
        kernels: &[
            "q8_0_round",
            "q8_0_rows_1",
            "q8_0_rows_2",
            "q8_0_rows_4",
            "q8_0_rows_8",
            "q8_0_tile",
        ],
    },
    Module {
        name: "segmented",
        ptx: include_str!("segmented.ptx"),
        kernels: &["lowrank_shrink", "lowrank_expand"],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    const PRELUDE: &str = include_str!("prelude.cuh");

    fn source(module: &Module) -> String {
        let file = format!("src/kernels/cuda/{}.cu", module.name);
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        std::fs::read_to_string(path).expect("the source beside its PTX")
    }

    /// FNV-1a, 64 bits, as `digest` of `ptx.py` has it.
    fn digest(texts: &[&str]) -> String {
        let bytes = texts.iter().flat_map(|text| text.bytes());
        let value = bytes.fold(0xcbf2_9ce4_8422_2325u64, |value, byte| {
            (value ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{value:016x}")
    }

    #[test]
    fn the_digest_is_fnv_1a() {
        assert_eq!(digest(&[]), "cbf29ce484222325");
        assert_eq!(digest(&["foo", "bar"]), "85944171f73967e8");
    }

    #[test]
    fn ptx_is_made_from_the_source_beside_it() {
        for module in &MODULES {
            let head = module.ptx.lines().next().unwrap_or_default();
            let made_from = digest(&[PRELUDE, &source(module)]);
            assert!(
                head.starts_with(&format!("// source {made_from}, NVRTC ")),
                "{}.cu has changed: run src/kernels/cuda/ptx.py ({head})",
                module.name
            );
        }
    }

    #[test]
    fn every_kernel_of_the_source_is_listed_and_in_the_ptx() {
        for module in &MODULES {
            let source = source(module);
            let declared = source.split("\nKERNEL(").skip(1);
            let declared: Vec<_> = declared.filter_map(|part| part.split(',').next()).collect();
            assert_eq!(declared, module.kernels, "{}.cu", module.name);
            for kernel in module.kernels {
                let entry = format!(".visible .entry {kernel}(");
                assert!(module.ptx.contains(&entry), "{kernel}");
            }
        }
    }
}
