"""The network around this machine: addresses, names, proxies, certificates, announcement."""
