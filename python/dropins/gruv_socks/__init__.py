"""The interface of gruv_socks on libmsock: frames behind their length, frame:// in msockd."""
