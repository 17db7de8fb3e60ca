// Deliberate mistakes in the product's kernels, each one a line that could be forgotten. Compiled in check mode, which
// has to catch every one of them: that is what shows that the checks can fail. Read by the build script too.

/// A kernel file with one piece of text replaced.
#[derive(Debug, Clone, Copy)]
pub struct Mutant {
    /// What is wrong with it.
    pub name: &'static str,
    /// The file without its extension.
    pub file: &'static str,
    /// Text that stands in the file exactly once.
    pub from: &'static str,
    pub to: &'static str,
    /// What the check says contains one of these; which one is a matter of order.
    pub caught_as: &'static [&'static str],
}

/// A barrier is missing: an access meets another's, or comes before it.
const RACE: &[&str] = &["no barrier between them", "which nothing has written"];
const UNWRITTEN: &[&str] = &["which nothing has written"];

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "norm: sums are read without a barrier",
        file: "norm",
        from: "__syncthreads();",
        to: "",
        caught_as: RACE,
    },
    Mutant {
        name: "norm: sums of warps that do not exist are added",
        file: "norm",
        from: "lane < blockDim.x / WARP ? sums[lane] : 0.0f",
        to: "sums[lane]",
        caught_as: UNWRITTEN,
    },
    Mutant {
        name: "norm: every lane writes its warp's sum",
        file: "norm",
        from: "if (lane == 0) sums[warp] = sum;",
        to: "sums[warp] = sum;",
        caught_as: RACE,
    },
    Mutant {
        name: "norm: one number past the row",
        file: "norm",
        from: "i < width; i += blockDim.x) out[i]",
        to: "i <= width; i += blockDim.x) out[i]",
        caught_as: &["which has"],
    },
    Mutant {
        name: "norm: rows taken for aligned that are not",
        file: "norm",
        from: "width % 4 == 0 ? width / 4 : 0",
        to: "width / 4",
        caught_as: &["is not a multiple of 16 bytes"],
    },
    Mutant {
        name: "q8_0: groups past the last are rounded",
        file: "q8_0",
        from: "if (at >= count) return;",
        to: "",
        caught_as: &["of x, which has"],
    },
    Mutant {
        name: "q8_0: outputs past the last are multiplied",
        file: "q8_0",
        from: "if (output >= n) return;",
        to: "",
        caught_as: &["of wq, which has"],
    },
    Mutant {
        name: "q8_0: rows past the last are multiplied",
        file: "q8_0",
        from: "if (row < m) {",
        to: "{",
        caught_as: &["of xq, which has"],
    },
    Mutant {
        name: "q8_0: rows past the last are written",
        file: "q8_0",
        from: "if (lane == 0 && first + r < m)",
        to: "if (lane == 0)",
        caught_as: &["of y, which has"],
    },
    Mutant {
        name: "q8_0: one step past the row",
        file: "q8_0",
        from: "at < k / 16; at += WARP",
        to: "at <= k / 16; at += WARP",
        caught_as: &["which has"],
    },
    Mutant {
        name: "q8_0: a tile is read before it is whole",
        file: "q8_0",
        from: "__syncthreads(); // the tile is whole",
        to: "",
        caught_as: RACE,
    },
    Mutant {
        name: "q8_0: a tile is written while it is read",
        file: "q8_0",
        from: "__syncthreads(); // all have read it",
        to: "",
        caught_as: RACE,
    },
    Mutant {
        name: "q8_0: rows past the last are staged",
        file: "q8_0",
        from: "if (row < rows) codes",
        to: "codes",
        caught_as: &["which has"],
    },
    Mutant {
        name: "q8_0: scales past the last are staged",
        file: "q8_0",
        from: "output < n ? half_to_float(ws[(size_t)output * blocks + b]) : 0.0f",
        to: "half_to_float(ws[(size_t)output * blocks + b])",
        caught_as: &["of ws, which has"],
    },
    Mutant {
        name: "q8_0: a tile's columns past the last are written",
        file: "q8_0",
        from: "if (row < m && output < n) y",
        to: "if (row < m) y",
        caught_as: &["of y, which", "of bias, which has"],
    },
    Mutant {
        name: "segmented: only some of a block come to the barrier",
        file: "segmented",
        from: "if (blockIdx.y * SHRINK_WARPS >= tile.rank) return;",
        to: "if (r >= tile.rank) return;",
        caught_as: &["has ended"],
    },
    Mutant {
        name: "segmented: x past the row is staged",
        file: "segmented",
        from: "if (threadIdx.x < here) chunk",
        to: "chunk",
        caught_as: &["of x, which has"],
    },
    Mutant {
        name: "segmented: x is read before it is whole",
        file: "segmented",
        from: "from + threadIdx.x];\n    __syncthreads(); // the chunk is whole",
        to: "from + threadIdx.x];",
        caught_as: RACE,
    },
    Mutant {
        name: "segmented: x is written while it is read",
        file: "segmented",
        from: "sums[row] += chunk[row][i] * a;\n      }\n    __syncthreads(); // all have read it",
        to: "sums[row] += chunk[row][i] * a;\n      }",
        caught_as: RACE,
    },
    Mutant {
        name: "segmented: rows past the tile are added",
        file: "segmented",
        from: "if (row < tile.rows) sums[row] += chunk[row][i] * a;",
        to: "sums[row] += chunk[row][i] * a;",
        caught_as: UNWRITTEN,
    },
    Mutant {
        name: "segmented: hidden sums are read before they are whole",
        file: "segmented",
        from: "from + i % here];\n    __syncthreads(); // the chunk is whole",
        to: "from + i % here];",
        caught_as: RACE,
    },
    Mutant {
        name: "segmented: hidden sums are written while they are read",
        file: "segmented",
        from: "sums[row] += chunk[row][r] * b;\n      }\n    __syncthreads(); // all have read it",
        to: "sums[row] += chunk[row][r] * b;\n      }",
        caught_as: RACE,
    },
    Mutant {
        name: "segmented: more ranks than there is room for",
        file: "segmented",
        from: "min((unsigned)RANKS, tile.rank - from)",
        to: "tile.rank - from",
        caught_as: &["out of an array's bounds"],
    },
    Mutant {
        name: "segmented: columns past the last are added to",
        file: "segmented",
        from: "if (column >= outputs) return;",
        to: "",
        caught_as: &["of y, which"],
    },
    Mutant {
        name: "segmented: rows of the next segment are added to",
        file: "segmented",
        from: "if (row < tile.rows) y[",
        to: "y[",
        caught_as: &["of y, which"],
    },
];
