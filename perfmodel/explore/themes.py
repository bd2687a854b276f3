"""Prices by what they are about: the groups of sliders."""

from types import MappingProxyType

THEMES = MappingProxyType(
    {
        "Transitions and state": (
            "seam_transition", "vmx_transition", "vmread_vmwrite", "rdmsr", "wrmsr", "xsave_xrstor", "vmptrld",
            "bhb_sequence",
        ),
        "The module's software": (
            "keyhole_hit", "keyhole_miss", "locked_operation", "module_instruction", "movdir64b_line", "mfence",
            "memory_encryption_write",
        ),
        "Memory": (
            "dram_read", "memory_encryption_read", "pamt_stream_line", "flush_line", "flush_absent_line", "clear_line",
            "l2_read", "l3_read",
        ),
        "KVM and guest_memfd": (
            "kvm_exit_dispatch", "kvm_fault_path", "prefault_iteration", "gmem_lookup", "folio_alloc", "mirror_install",
            "mirror_table", "seamcall_wrapper", "struct_page_line", "host_alu_operation", "pfn_valid_check",
            "convertible_check",
        ),
        "Building and conversion": (
            "sha384_block", "populate_page", "userspace_exit", "attributes_ioctl", "attribute_page", "mmu_write_lock",
            "folio_split", "split_page", "punch_hole", "folio_free", "kvm_zap_leaf", "guest_exception",
        ),
        "Kicks": ("kick_request", "kick_look", "kick_round", "kick_vcpu"),
        "Dynamic PAMT": ("pamt_get", "pamt_put", "pamt_lock", "pamt_pair_return"),
        "Many vCPUs": (
            "line_transfer", "line_transfer_remote", "dram_read_remote", "dram_line", "link_line", "remote_line",
            "sleeper_wakeup", "ipi_send", "ipi_delivery", "tick_period", "tick_inside",
        ),
    }
)  # fmt: skip
"""Each price of ``data/parameters.toml`` is in one of them."""
