CHECKS=[]
binary=None
def stop(): pass
