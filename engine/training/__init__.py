"""Training from a chip folder; needs torch, torchvision, numpy and OpenCV alone."""
