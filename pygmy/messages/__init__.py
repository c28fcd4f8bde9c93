"""Every message that enters or leaves a process, typed once: what is decoded here has been validated."""
