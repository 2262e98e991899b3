"""The latency tracer's two sides mean the same by their numbers."""

from __future__ import annotations

from tests.unit.test_record_file import _btf_section

from nettax.functions.chains import CHAINS, FUNCTION_STAGES
from nettax.functions.histogram import SLOT_BITS
from nettax.functions.latency import _NR_STAGES, BY
from nettax.kernel.btf import Btf
from nettax.kernel.programs import OBJECTS


def test_chains_and_stages_are_numbered_alike() -> None:
    btf = Btf(_btf_section(OBJECTS / "latency.bpf.o"))
    chains = {f"CHAIN_{name.upper().replace('-', '_')}": i for i, name in enumerate(CHAINS)}
    assert btf.enum("chain") == chains | {"NR_CHAINS": len(CHAINS)}
    for name, chain in CHAINS.items():
        stages = btf.enum(f"{name.replace('-', '_')}_stage")
        assert sorted(stages.values()) == list(range(len(chain.stages)))
        assert len(stages) <= _NR_STAGES
    assert len(btf.enum("function_stage")) == len(FUNCTION_STAGES)
    assert len(btf.enum("by")) == len(BY)
    header = (OBJECTS / "latency.h").read_text()
    assert f"#define NR_STAGES {_NR_STAGES}\n" in header
    assert f"#define SLOT_BITS {SLOT_BITS}\n" in header
