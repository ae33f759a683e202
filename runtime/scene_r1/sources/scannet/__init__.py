"""ScanNet (Dai et al., CVPR 2017): its `.sens` recordings, and the files that go with a scan."""
